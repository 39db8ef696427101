pip install 'crossdistill[demo]'
crossdistill run mine.yaml
crossdistill embed runs/mine --modality target sketches/ --out sketches.parquet
