"""Training data: from files to batches of NumPy arrays. Knows nothing of PyTorch.

lines      lines of a file, checked; text_file: a small file that somebody wrote
rows       what a row of each kind becomes: Example
dataset    the data sets of a mix, read row by row
augment    noise and variants, as examples
encoding   examples to ids; dialogues to windows that fit
batching   ids to arrays with little padding
mixing     all of it as one endless stream that can be resumed
survey     what the data hold: texts, labels, languages
"""
