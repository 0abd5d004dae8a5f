"""The recogniser: encoder, attention decoder, beam search."""
