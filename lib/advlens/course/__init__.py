"""What only the book needs: records, figures, widgets, checks, grading, the command line."""
