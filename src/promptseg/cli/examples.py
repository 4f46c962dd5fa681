"""Commands of every verb, shown at the end of its help; a test parses them."""

from __future__ import annotations

__all__ = ["EXAMPLES"]

EXAMPLES: dict[str, dict[str, str]] = {
    "segment": {
        "a box on slice 10 of a series, propagated up and down": (
            "-i ct/ -o liver.nii.gz --box 98,190,272,372@10=liver"
        ),
        "a click on a picture": (
            "-i cells.png -o cell.png --model promptseg-lite --point 120,88,+"
        ),
    },
    "plan": {
        "a table of cases, from 20 of them": "-i cases.csv --model promptseg-lite --threads 4",
        "on nodes of 64 CPUs and 256 GiB": "-i cases.csv --sample 50 --node-cpus 64 --node-memory 256",
    },
    "convert": {
        "labels as a DICOM SEG of their series": "-i liver.nii.gz --reference ct/ -o liver.dcm",
        "a SEG for 3D Slicer": "-i liver.dcm --reference ct/ -o liver.seg.nrrd",
    },
    "curate": {
        "a folder of datasets as a collection to train on": "-i data/ -o collection",
        "what licences let weights be shared": "-i data/ -o collection --licence open",
    },
    "curate check": {
        "before hours of training": "collection",
        "how long 10 epochs would take here": "collection --epochs 10 --batch-size 4",
    },
    "curate statistics": {
        "how many images, masks and patients": "collection",
        "the same for a program": "collection --json",
    },
    "train": {
        "MedicoSAM's recipe on a collection": "-i collection -o runs/first --model mobile-sam",
        "with the options of a file": "my_recipe.yaml -i collection -o runs/second",
    },
    "loop": {
        "classes of a folder of images, with at most 60 of them annotated": (
            "-i images/ -o loop --task classes --budget 60"
        ),
        "what it would have given on labelled data": (
            "-i data/ -o simulated --task classes --budget 30 --simulate"
        ),
    },
    "evaluate": {
        "two models on a folder of datasets": (
            "-i data/ -o results --model lite-medsam --model mobile-sam"
        ),
        "masks that are there already": "-i data/ -o results --predictions masks/",
    },
    "evaluate compare": {
        "what a change has done": "before/ after/ -o compared/",
        "the same model on two engines": "eager/ openvino/ -o compared/ --across engine",
    },
    "report": {
        "the page of a finished evaluation, anew": "results",
        "one that may go to others": "results --publish",
    },
    "embed": {
        "a series, so that prompting it is quick": "-i ct/ -o embeddings",
        "for clicks with another model": "-i ct/ -o embeddings --model mobile-sam",
    },
    "train merge": {
        "two trainings averaged with each other and with their start": "-i collection -o merged "
        "--weights first/model.pth --weights second/model.pth",
        "one training, part of the way back to its start": "-i collection -o merged "
        "--weights first/model.pth --share 0.5 --share 0.75",
    },
    "train words": {
        "all classes of a collection": "-i collection -o runs/ours --base promptseg-words",
        "one class, with another word for it": (
            "-i collection -o runs/ours --word 'fluid=retinal fluid;macular edema'"
        ),
    },
    "export": {
        "files that run without torch": "--model mobile-sam -o exported",
        "for OpenVINO": "--model mobile-sam --format openvino -o exported",
        "where micro-sam loads it": "--model runs/first/model.pth --for micro-sam -o weights",
    },
    "mcp": {
        "what an MCP client is told to start": "--root scans/ --model promptseg-lite",
        "without giving pictures back": "--root scans/ --no-pictures",
    },
    "info": {
        "what was understood of a series, with a picture": "ct/ --preview ct.png",
        "for a program": "scan.nii.gz --json",
    },
    "models": {
        "all of them": "",
        "which is best for clicks on CT": "--recommend --prompt point --modality CT",
    },
    "assets": {
        "weights and samples, and what is here": "list",
        "fetch weights ahead of time": "fetch mobile-sam",
    },
    "benchmark": {
        "every engine that runs here": "--model mobile-sam",
        "on two threads": "--model lite-medsam --threads 2",
    },
    "timing": {
        "an expert begins a case by hand": "start log.jsonl --case 1 --expert A --phase manual",
        "what was saved": "table log.jsonl",
    },
    "serve": {
        "the images of a folder, with one model": "--root scans/ --model promptseg-lite",
        "for MR alone, on another port": "--root scans/ --modality MR --port 8080",
    },
    "schema": {
        "what a program gets of segment --json": "segment",
        "which verbs have one": "",
    },
    "completion": {
        "for bash": "bash",
        "for fish": "fish",
    },
    "demo": {
        "a real CT, three organs": "-o demo",
        "on a file of yours": "-i scan.nii.gz --box 98,190,272,372@10 -o demo",
    },
}
"""Verb -> what an example does -> its options."""
