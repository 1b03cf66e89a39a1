"""What a workflow will do and what in it cannot work, told from its widgets and its files' headers. Knows no host."""
