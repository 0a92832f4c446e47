"""Workflows in a FastAPI or Starlette application (extra `fastapi`): an endpoint that awaits a run, one that streams
its events, cancellation when the client goes away, and errors that tell a client nothing of what is inside.

    app = FastAPI(lifespan=lifespan(governor))

    @app.post("/reviews")
    async def review(body: Review, request: Request) -> Response:
        return await respond(request, workflow, body.model_dump())
"""

from kairos_async.web._events import EventStream as EventStream
from kairos_async.web._respond import lifespan as lifespan
from kairos_async.web._respond import problem as problem
from kairos_async.web._respond import respond as respond
from kairos_async.web._respond import run_for as run_for
