"""What building the built-in sets takes: packages, parallel and resumable work, drawing, speech, rendering."""
