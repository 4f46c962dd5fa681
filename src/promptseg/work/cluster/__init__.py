"""Tasks done by the machines of a Ray cluster; imported only where one is asked for."""

from promptseg.work.cluster.driver import OnCluster
from promptseg.work.cluster.nodes import AUTO

__all__ = ["AUTO", "OnCluster"]
