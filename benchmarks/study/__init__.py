"""The study of the method's claim: tasks x methods, each method tuned alike, and what the default is ahead by."""
