"""Interactive explorer of Pareto fronts in the browser: ``hwnas explore``.

The server is Starlette on uvicorn. Everything that it answers is a plain function of a query, so
tests need neither a browser nor a socket. Dash and Panel would keep the state of each page on the
server and send whole figures on every move of a slider. The page draws on a canvas as our reports
do, since Plotly's SVG is slow with the 7,490 members of a front of gpt-l, its WebGL is not
available everywhere, and it weighs 4 MB. Nothing is fetched from the network.

`catalogue` opens surrogates, `queries` parses and checks questions, `fronts` answers them from the
known front at once, `background` computes exact constrained fronts in a process that the next
question ends, `architectures` tells of one network, `overlays` reads runs, `app` serves all of it
and `server` runs it.
"""
