"""What a job's life may look like, and how it moves. Pure: no disk, network, clock or thread."""
