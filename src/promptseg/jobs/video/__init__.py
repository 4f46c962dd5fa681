"""One video from file to files."""

from promptseg.jobs.video.job import is_video_job, segment_video
from promptseg.jobs.video.results import VideoOutputs

__all__ = ["VideoOutputs", "is_video_job", "segment_video"]
