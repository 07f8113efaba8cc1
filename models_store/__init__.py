"""What a stored model is and means: all that training and serving share."""
