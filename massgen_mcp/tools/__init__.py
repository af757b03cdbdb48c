"""What an agent may call beside the workflow tools."""
