"""The world around one worker, small enough to be played thousands of times a minute."""
