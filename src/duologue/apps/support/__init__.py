"""Questions answered from documents, with what the answer comes from; or an honest "no answer".

outline.py     sections: text under headings
readers.py     files to sections; markup.py: .html, .docx, .pdf
passages.py    sections to passages of a few sentences
terms.py       the words that passages are found by
memories.py    passages and questions as a model reads them; passages are kept on disk
retrieval.py   which passages fit a question
base.py        the knowledge base: add, refresh, remove, list, search, ask
spans.py       decoding that can say nothing but what stands in a passage
confidence.py  how likely an answer is right
answer.py      a question's answer, or why there is none
why.py         what of the documents an answer needs
"""

from duologue.apps.support.answer import HandOver, ask, hand_over
from duologue.apps.support.base import Changes, Failure, KnowledgeBase, absolute
from duologue.apps.support.retrieval import Hit

__all__ = ["Changes", "Failure", "HandOver", "Hit", "KnowledgeBase", "absolute", "ask", "hand_over"]
