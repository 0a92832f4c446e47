"""The parts of licence_audit.py that know nothing of workflows: plain functions, tested on their own."""
