"""Export: trained networks for other programs, quantisation, sidecar files and model cards."""
