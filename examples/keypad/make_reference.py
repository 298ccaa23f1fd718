"""Writes reference.npz: 1.5 s of call.wav and what PyTorch makes of it, for
strand compare keypad.yaml --against reference.npz      Arrays are named as keypad.yaml names input and output."""
import numpy as np

from keypad import HERE, RATE, load_model, probabilities, read_wav

BEGIN = int(0.35 * RATE)    # just before the first digit

audio = read_wav(HERE / "call.wav")[None, None, BEGIN:BEGIN + 3 * RATE // 2]
np.savez(HERE / "reference.npz", audio=audio, probabilities=probabilities(load_model(), audio[:, 0]))
