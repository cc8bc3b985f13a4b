"""The demo: a lab that is really broken, and the runtime that really repairs it, with nothing kept back."""
