"""The model in PyTorch: what training runs and what the native engine must equal.

layers      norms, residual branches, feed-forward, dropout, initialisation
masks       who sees whom
positions   rotary angles, relative bias, tables of positions
attention   self- and cross-attention
stack       what both sides of the Transformer share
encoder     the Transformer encoder
decoder     the Transformer decoder
recurrent   the GRU encoder and decoder: the same interface
front_end   embeddings, frames of sound, the output's own weights
values      Source, Target, Memory, DecoderState, OutputLayer
seq2seq     Seq2Seq, which joins the parts
"""
