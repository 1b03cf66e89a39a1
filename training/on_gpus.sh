#!/bin/sh
# One step of the training on all GPUs of this machine, from the top of the checkout; its words go to W/STEP.log:
#     sh training/on_gpus.sh W train_vae|train_dit --seconds S [more options of that script]
# W: folder of all files. Speech is made when it is not there; the speech encoder is expected in W/wav2vec.
set -e
W=$1 STEP=$2
shift 2
[ -f "$W/train.safetensors" ] || python3 -m training.speech "$W/train.safetensors" --seconds 12000 --seed 1 --workers 32
[ -f "$W/test.safetensors" ] || python3 -m training.speech "$W/test.safetensors" --seconds 900 --seed 2 --split test
case $STEP in
train_vae) set -- --out "$W/vae" "$@" ;;
train_dit) set -- --vae "$W/vae/vae.safetensors" --encoder "$W/wav2vec" --speech "$W/train.safetensors" \
    --unheard "$W/test.safetensors" --out "$W/dit" --state "$W/dit_state.safetensors" --banks "$W/banks" "$@" ;;
esac
GPUS=$(python3 -c 'import torch; print(torch.cuda.device_count())')
python3 -m torch.distributed.run --nproc_per_node="$GPUS" -m "training.$STEP" "$@" >>"$W/$STEP.log" 2>&1
