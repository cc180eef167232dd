"""What is in a report, as plain dictionaries, and how it is written: HTML, Markdown, figures. Never imports torch."""
