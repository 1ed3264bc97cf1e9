"""What happens to a batch before the network sees it."""
