"""`python -m jobs`: the `xytok` command where only the packages travelled, as on a cluster."""

from jobs.cli import main

main()
