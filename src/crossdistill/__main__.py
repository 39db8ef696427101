"""``python -m crossdistill``: the same as the command ``crossdistill``."""

from crossdistill.cli.app import main

if __name__ == "__main__":
    main()
