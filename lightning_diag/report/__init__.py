"""A diagnosis as Markdown, JSON, figures and HTML: value in, text out."""
