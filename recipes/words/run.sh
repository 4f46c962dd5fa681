#!/bin/sh
# Collections are those of recipes/lite. PROMPTSEG_POOL and PROMPTSEG_DATA name the images; one thread throughout.
set -e
export PYTHONPATH=src:benchmarks
python benchmarks/words_data.py data/lite data/external -o data/words --embeddings runs/embeddings
python benchmarks/words_train.py data/words -o runs/words --minutes 16 --updates 8000
FILE=promptseg-words=runs/words/promptseg_words.safetensors
python benchmarks/words.py data/words data/lite data/external -o runs/words --model $FILE --choose-refining
# what it chose went into concepts.py, and with it into the file:
python benchmarks/words_train.py data/words -o runs/words --only-words
python benchmarks/words.py data/words data/lite data/external -o runs/words --model $FILE
