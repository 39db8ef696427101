"""What the data sets of the field share: layouts, lists, counts, and items that are made from their files on demand."""
