"""How much has to be typed until there is a first result on pairs of one's own, here and in other packages."""
