"""Raw public data into training data: conversion, exclusions, splits, checks before training."""
