"""Pictures of runs: a page with graph and timeline, and the graph as SVG. Pure: data in, text out.

They lie below the model, so that a result can draw itself; what they draw is a `Portrait`, not a result.
"""

from kairos_async.pictures.graph import graph_svg as graph_svg
from kairos_async.pictures.page import framed as framed
from kairos_async.pictures.page import page as page
from kairos_async.pictures.portrait import Portrait as Portrait
from kairos_async.pictures.portrait import StepRow as StepRow
from kairos_async.pictures.portrait import portrait_of as portrait_of
