"""Other programs that train what is built here."""
