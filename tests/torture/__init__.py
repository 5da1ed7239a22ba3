"""The torture test: servers are killed again and again while clients talk; nothing may be lost.

`python -m scripts.torture` (`make torture`) runs it; `test_torture.py` runs a short one.

    run.py       the run: servers, clients, kills, then calm
    options.py   what a run may be told: seed, kills, kind and number of servers, database, Redis
    client.py    a client that comes back by itself, with an outbox, as the browser's library does
    link.py      one of its connections: requests and answers
    view.py      what one client knows of one conversation, and what may never happen to it
    promises.py  its messages, and the answers that promised them
    world.py     accounts and conversations, and what is stored in the end
    verdict.py   the comparison of what was promised with what is stored
"""
