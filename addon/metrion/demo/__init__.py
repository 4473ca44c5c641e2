"""What `metrion demo` needs beside Metrion itself: a simulator of the providers and the calls that are made to it."""
