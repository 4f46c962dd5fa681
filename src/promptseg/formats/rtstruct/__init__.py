"""DICOM RTSTRUCT: objects as closed contours on the slices of an image."""
