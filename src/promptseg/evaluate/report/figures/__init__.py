"""The figures of a report: MedSAM's boxes and podiums, curves, clouds."""
