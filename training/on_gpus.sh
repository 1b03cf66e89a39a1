#!/bin/sh
# One step of the training on all GPUs of this machine, from the top of the checkout; its words go to W/STEP.log:
#     sh training/on_gpus.sh W train_vae|train_dit --seconds S [more options of that script]
# W: folder of all files. train_dit expects the VAE in W/vae and the speech encoder in W/wav2vec, and makes the speech
# when it is not there.
set -e
W=$1 STEP=$2
shift 2
mkdir -p "$W"
case $STEP in
train_vae) set -- --out "$W/vae" "$@" ;;
train_dit)
    [ -f "$W/train.safetensors" ] || python3 -m training.speech "$W/train.safetensors" --seconds 12000 --seed 1 --workers 32
    [ -f "$W/test.safetensors" ] || python3 -m training.speech "$W/test.safetensors" --seconds 900 --seed 2 --split test
    set -- --vae "$W/vae/vae.safetensors" --encoder "$W/wav2vec" --speech "$W/train.safetensors" \
        --unheard "$W/test.safetensors" --out "$W/dit" --state "$W/dit_state.safetensors" "$@"
    ;;
*) echo "on_gpus.sh: $STEP is neither train_vae nor train_dit." >&2; exit 2 ;;
esac
GPUS=$(python3 -c 'import torch; print(torch.cuda.device_count())')
python3 -m torch.distributed.run --nproc_per_node="$GPUS" -m "training.$STEP" "$@" >>"$W/$STEP.log" 2>&1
