"""Training: from a recipe to a model folder. PyTorch is needed here and in model/, nowhere else.

trainer     the loop: read run_updates() first
setup       what a run consists of, and what it leaves on disk
shape       the model's sizes and tasks, completed from tokenizer and data
objective   the loss, in chunks
lora        small matrices that train beside frozen weights
optimizer   AdamW, learning rate, clipping, averaged weights
validation  losses and greedy decoding on the valid splits
state       the numbers and tensors of a checkpoint
parallel    device, precision, several processes
progress    terminal, metrics.jsonl, TensorBoard
plots       loss.png, scores.png
card        the model card
signals     Ctrl-C
"""
