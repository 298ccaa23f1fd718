"""Trains keypad.safetensors from synthetic calls: python3 train.py [--steps 1500] [--out keypad.safetensors]"""
import argparse
import time

import numpy as np
import torch
from torch import nn

from keypad import (FILTER_LENGTH, FILTERS, HERE, RATE, Keypad, choose, decode, edit_distance, probabilities,
                    save_weights)
from synth import HIGH, LOW, TRAINING_SPEECH, TrainingClips, test_call

TRAINING_SEED, VALIDATION_SEED = 1, 2       # evaluate.py uses 3 for its thresholds and 4 for its test


def start_filters(model, rng):
    """Starts the stem as windowed sines: four phases at each DTMF frequency, so that their rectified mean hardly
    ripples, and the rest spread over the band to hear what else is there. Training moves all of them."""
    f = np.concatenate([np.repeat(LOW + HIGH, 4), np.geomspace(250, 3600, FILTERS - 32)])
    phase = np.concatenate([np.tile([0, 0.25, 0.5, 0.75], 8), rng.random(FILTERS - 32)])
    t = (np.arange(FILTER_LENGTH) - (FILTER_LENGTH - 1) / 2) / RATE
    window = np.hamming(FILTER_LENGTH)
    w = window * np.cos(2 * np.pi * (f[:, None] * t + phase[:, None])) / window.sum() * 2
    with torch.no_grad():
        model.filters.weight.copy_(torch.from_numpy(w[:, None] * 4).float())
        model.filters.bias.zero_()


def digit_errors(model, calls, kind, snr):
    """Share of digits wrong on validation calls."""
    wrong = total = 0
    for call in calls:
        heard = decode(choose(probabilities(model, call.mixed(kind, snr))))
        wrong += sum(edit_distance(call.digits, heard))
        total += len(call.digits)
    return wrong / total


def main():
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--steps", type=int, default=1500)
    parser.add_argument("--batch", type=int, default=24)
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--out", default=HERE / "keypad.safetensors")
    args = parser.parse_args()

    torch.set_num_threads(args.threads)
    torch.manual_seed(TRAINING_SEED)
    model = Keypad()
    start_filters(model, np.random.default_rng(TRAINING_SEED))
    clips = TrainingClips(TRAINING_SEED, 2 * RATE)
    calls = [test_call(VALIDATION_SEED, i, TRAINING_SPEECH) for i in range(60)]
    optimizer = torch.optim.AdamW(model.parameters(), lr=4e-3, weight_decay=1e-3)
    schedule = torch.optim.lr_scheduler.OneCycleLR(optimizer, 4e-3, total_steps=args.steps, pct_start=0.1)
    loss_of = nn.CrossEntropyLoss()

    start, mean = time.time(), 0.0
    for step in range(1, args.steps + 1):
        audio, labels = clips.batch(args.batch)
        loss = loss_of(model.logits(torch.from_numpy(audio)), torch.from_numpy(labels))
        optimizer.zero_grad()
        loss.backward()
        nn.utils.clip_grad_norm_(model.parameters(), 1.0)
        optimizer.step()
        schedule.step()
        mean += loss.item()
        if step % 250 == 0 or step == args.steps:
            model.eval()
            wrong = [digit_errors(model, calls, kind, snr) for kind in ("white", "speech") for snr in (10, 0, -5)]
            model.train()
            print(f"step {step:5d}  {time.time() - start:5.0f} s  loss {mean / (step % 250 or 250):.4f}  digits wrong, "
                  "white/speech at 10, 0, -5 dB: " + " ".join(f"{100 * w:.1f}%" for w in wrong), flush=True)
            mean = 0.0
    save_weights(model.eval(), args.out)


if __name__ == "__main__":
    main()
