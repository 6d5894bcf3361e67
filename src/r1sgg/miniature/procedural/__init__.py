"""The parts behind `r1sgg.miniature.scenes`: how pictograms are drawn, which relations hold, where things are put."""
