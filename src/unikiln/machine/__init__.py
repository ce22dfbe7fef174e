"""The library operating system that runs a program from an image."""
