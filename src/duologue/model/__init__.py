"""The model in PyTorch: what training runs and what the native engine must equal.

layers      RMSNorm, dropout, gated feed-forward, initialisation
attention   masks, rotary positions, self- and cross-attention
encoder     the block-causal Transformer encoder
decoder     the Transformer decoder
recurrent   the GRU encoder and decoder: the same interface
values      Source, Target, Memory, DecoderState
seq2seq     Seq2Seq, which joins the parts
"""
