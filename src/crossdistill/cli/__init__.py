"""The command line. Each command is a few lines over the pipeline; heavy imports wait until one is called."""
