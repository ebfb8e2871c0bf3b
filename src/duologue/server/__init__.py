"""`duologue serve`: one process that many people and programs talk to. docs/protocol.md says how.

app.py        make_app: the routes, and what stands around all of them
service.py    what routes call: the models, the store, and who may have how much
dialogues.py  turns in stored conversations, one at a time in each; paths.py: what was said before
replies.py    a reply on its way to its reader and into the store
bridge.py     the thread that steps an engine, and the way from there to asyncio
memories.py   where the memory of a conversation comes from, and where it is kept
routes/       one file for each group of routes; schemas.py: their bodies, views.py: what is sent
sse.py        streams of events over HTTP
security.py   who may come in: keys, scopes, hosts and origins; headers
limits.py     how much of everything
errors.py     every error as JSON
metrics.py    numbers for Prometheus; telemetry.py: spans for OpenTelemetry, if a collector is named
running.py    start, signals, and a stop that loses nothing; options.py: how it is run
"""
