"""What has happened: the database and nothing else.

Kept free of imports: a command that only looks loads ``persistence.reader`` and no SQLAlchemy.
"""
