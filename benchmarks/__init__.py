"""Programs that measure, and what they measured (results/, dated, with hardware and configuration)."""
