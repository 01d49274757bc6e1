"""The fault suite: what can go wrong around a run is made to happen, and afterwards nothing may be lost.

``docs/reliability.md`` lists the faults, one row each, in the groups A to G; the modules here are named after them. To
add a row, write one function::

    def test_the_nas_is_full_half_way(lab: Lab, oracle: Oracle) -> None:
        lab.push(files={"a.fcs": b"a" * 100_000})
        oracle.remember()                 # from now on these bytes must be somewhere
        ...                               # cause the fault, run the program: lab.cli("poll"), or under strace
        oracle.require_nothing_lost()     # at any moment, as often as one likes
        ...                               # take the fault away
        oracle.settle()                   # three clean passes: nothing lost, nothing left over, list agrees

and name it in the table of ``docs/reliability.md``; ``test_rows.py`` compares the two. What tests need:

* ``tests/lab.py``: a laboratory in a temporary folder; ``tests/oracle.py``: what must hold. ``lab.cli`` forks the
  program (``tests/forked.py``), which takes a tenth of what it takes to start it with ``lab.command``.
* ``strace.py``: kill the program at a system call, let the call fail, or act while the program waits there.
* ``nas.py``: a NAS that fails, lies, hangs or dies when it is told to.
* ``disks.py``: file systems in files, whose power can be cut; ``tests/mounts.py``: other mounts.

Of a parametrised test two forms run by default, or as many as its mark ``spread(n)`` says; the others are marked
``slow``. A test that takes more than a few seconds is marked ``slow`` by hand and has a fast sibling; what takes many
minutes is marked ``exhaustive`` and runs with ``pytest --exhaustive`` only.
"""
