#!/bin/bash
# Makes noisy calls with sox alone, so that the network is heard on tones and noise its training code did not make.
# usage: make_calls.sh FOLDER COUNT SEED SNR_DB      FOLDER/call-SEED-000.wav (8 kHz, 16 bits, mono) and .txt (digits)
#        make_calls.sh                               call.wav and expected.txt beside this script
# SNR: power of the tones while they sound over power of sox's white noise, both over 0 to 4 kHz.
set -euo pipefail

here=$(cd "$(dirname "$0")" && pwd)
keys='123A456B789C*0#D'
low=(697 770 852 941)
high=(1209 1336 1477 1633)
format=(-r 8000 -c 1 -e floating-point -b 32)
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT

# Into $drawn rather than printed: RANDOM, seeded once a run so that a seed names its calls, starts anew in a subshell.
draw() { drawn=$(( $1 + RANDOM % ($2 - $1 + 1) )); }
rms() { sox "$1" -n stat 2>&1 | awk '/^RMS +amplitude/ {print $3}'; }
calculate() { awk "BEGIN {printf \"%.6f\", $1}"; }

# make_call OUT.wav DIGITS SNR_DB NOISE_OFFSET TONE_MS_LEAST TONE_MS_MOST GAP_MS_LEAST GAP_MS_MOST
make_call() {
  local out=$1 digits=$2 snr=$3 offset=$4 pieces=() tones=() i
  rm -f "$work"/*
  sox -n "${format[@]}" "$work/lead.wav" trim 0 0.4
  pieces+=("$work/lead.wav")
  for (( i = 0; i < ${#digits}; i++ )); do
    local before=${keys%%"${digits:i:1}"*} key
    key=${#before}
    # Off by up to 1 %, the high tone 6 dB below to 3 dB above the low one.
    local f1 f2 v2 length
    draw -100 100; f1=$(calculate "${low[key / 4]} * (1 + $drawn / 10000)")
    draw -100 100; f2=$(calculate "${high[key % 4]} * (1 + $drawn / 10000)")
    draw -60 30;   v2=$(calculate "0.1 * 10 ^ ($drawn / 200)")
    draw "$5" "$6"; length=$(calculate "$drawn / 1000")
    sox -n "${format[@]}" "$work/low.wav" synth "$length" sine "$f1" vol 0.1
    sox -n "${format[@]}" "$work/high.wav" synth "$length" sine "$f2" vol "$v2"
    sox -m -v 1 "$work/low.wav" -v 1 "$work/high.wav" "$work/tone$i.wav" fade t 0.002 -0 0.002
    draw "$7" "$8"
    sox -n "${format[@]}" "$work/gap$i.wav" trim 0 "$(calculate "$drawn / 1000")"
    tones+=("$work/tone$i.wav")
    pieces+=("$work/tone$i.wav" "$work/gap$i.wav")
  done
  sox "${tones[@]}" "$work/tones.wav"
  sox "${pieces[@]}" "$work/lead.wav" "$work/call.wav"
  local seconds gain
  seconds=$(soxi -D "$work/call.wav")
  # sox -R repeats its random numbers: another stretch of the same noise is a call's own.
  sox -R -n "${format[@]}" "$work/noise.wav" synth "$(calculate "$offset + $seconds")" whitenoise \
      vol 0.2 trim "$offset" "$seconds"
  gain=$(calculate "$(rms "$work/tones.wav") / $(rms "$work/noise.wav") / 10 ^ ($snr / 20)")
  sox -R -m -v 1 "$work/call.wav" -v "$gain" "$work/noise.wav" -b 16 -e signed-integer "$out"
}

if (( $# == 0 )); then
  RANDOM=2024
  digits='5500#738*B94A1C'
  make_call "$here/call.wav" "$digits" 5 7 50 180 150 900
  echo "$digits" > "$here/expected.txt"
elif (( $# == 4 )); then
  mkdir -p "$1"
  RANDOM=$3
  for (( n = 0; n < $2; n++ )); do
    name=$(printf 'call-%s-%03d' "$3" "$n")
    digits=
    draw 8 12
    for (( i = drawn; i > 0; i-- )); do digits+=${keys:$(( RANDOM % 16 )):1}; done
    make_call "$1/$name.wav" "$digits" "$4" $(( 5 * n )) 40 200 40 200
    echo "$digits" > "$1/$name.txt"
  done
else
  sed -n '2,5s/^# //p' "$0" >&2
  exit 2
fi
