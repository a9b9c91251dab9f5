"""Ceph: the cluster, its images, snapshots and trash. The only place that calls rados and rbd."""
