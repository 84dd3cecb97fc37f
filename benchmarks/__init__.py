"""How much one worker process counts: `python -m benchmarks`, against a real Kafka broker and a real Redis on this machine."""
