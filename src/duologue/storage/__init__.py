"""What outlives the process: conversations, API keys, encoded memories, knowledge bases.

database.py       opens SQLite or PostgreSQL, brings the schema up to date; the only transactions
migrations.py     how each version of the schema becomes the next
tables.py         the newest schema
records.py        values that come out, and the hash chain
conversations.py  conversations and messages as trees
export.py         a conversation as Markdown, plain text or JSON
keys.py           API keys
knowledge.py      a knowledge base: documents in passages, the index of their words, embeddings
folder.py         where data lie unless somebody says otherwise
memory_cache.py   encoded memories in a folder of bounded size
sqlite.py         SQLite files through the standard library, for stores that need no server
"""
