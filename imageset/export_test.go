package imageset

// What fuzz targets call.
var (
	ParseGraph = parseGraph
	GraphLayer = graphLayer
)

// ReadPayload reads the files of a release.
func ReadPayload(references, boot []byte) ([]string, error) {
	p := payload{disks: map[string]string{}}
	err := p.add(map[string][]byte{imageReferences: references, bootImages: boot})
	return p.images, err
}
